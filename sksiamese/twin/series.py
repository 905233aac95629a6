"""Series: random changes of time series that keep their class.

They work on batches of scaled series, (B, C, T). Each series is changed independently, by random
numbers from the given generator.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SeriesAugmentation:
    """Smooth warping of time, a shift, and scaling of the amplitude.

    A value of `SiameseOneShotClassifier`'s parameter `augmentation`, for ``encoder="conv1d"``. The
    series is resampled once, linearly, at times that rise; before its start and after its end it
    keeps its first and last value.

    Parameters
    ----------
    warp : float, default=0.15
        Standard deviation of the logarithm of the speed at a knot. 0 keeps the time as it is.
    knots : int, default=5
        Number of knots, between which the speed is interpolated linearly.
    shift : float, default=0.05
        Largest shift to each side, as a fraction of the length.
    scale : float, default=0.1
        Standard deviation of the logarithm of the factor that each channel is multiplied by.

    See Also
    --------
    Augmentation : The same for images.
    sksiamese.SiameseOneShotClassifier : Takes it as the parameter `augmentation`.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.augmentation import SeriesAugmentation
    >>> augmentation = SeriesAugmentation(warp=0.5)
    >>> series = torch.zeros(4, 3, 100)
    >>> augmentation(series, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 100])

    The times at which it resamples:

    >>> times = augmentation.times(4, 100, torch.Generator().manual_seed(0))
    >>> bool((times.diff(dim=1) >= 0).all())
    True
    """

    warp: float = 0.15
    knots: int = 5
    shift: float = 0.05
    scale: float = 0.1

    def __call__(self, series: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented series.

        Parameters
        ----------
        series : Tensor of shape (B, C, T)
            Scaled series.
        generator : torch.Generator
            Decides every draw.

        Returns
        -------
        series : Tensor of shape (B, C, T)
        """
        n, channels, length = series.shape
        times = self.times(n, length, generator).to(series.device)
        before = times.floor().clamp(max=length - 2).long()  # (B, T)
        index = before[:, None].expand(-1, channels, -1)
        weight = (times - before)[:, None].to(series.dtype)
        series = torch.lerp(series.gather(2, index), series.gather(2, index + 1), weight)
        factor = torch.randn(n, channels, 1, generator=generator).mul(self.scale).exp()
        return series * factor.to(series)

    def times(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """Draw the times, in samples, that series are resampled at.

        Parameters
        ----------
        n : int
            Number of series.
        length : int
            Number of time points.
        generator : torch.Generator
            Decides every draw.

        Returns
        -------
        times : Tensor of shape (n, length)
            Rising, from 0 to length - 1 at most.
        """
        coarse = torch.randn(n, 1, self.knots, generator=generator).mul(self.warp).exp()
        speed = F.interpolate(coarse, length - 1, mode="linear", align_corners=True)[:, 0]
        passed = F.pad(speed.cumsum(1), (1, 0))  # from 0 at the first time point
        times = passed / passed[:, -1:] * (length - 1)
        shift = (2 * torch.rand(n, 1, generator=generator) - 1) * self.shift * length
        return (times + shift).clamp(0, length - 1)
