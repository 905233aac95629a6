"""scikit-learn's callbacks (1.9 and later), told of each epoch by skorch's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from skorch.callbacks import Callback

from .twin.callbacks import StopTraining

if TYPE_CHECKING:

    class CallbackSupportMixin:
        """Stands in for scikit-learn's mixin, which has no type hints."""

        def _init_callback_context(self, **kwargs: Any) -> Any: ...

    F = TypeVar("F", bound=Callable[..., Any])

    def with_callbacks(method: F) -> F:
        """Stand in for scikit-learn's decorator, which has no type hints."""
        return method

else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # before scikit-learn 1.9 there are no callbacks to support

        class CallbackSupportMixin:
            """Stands in for scikit-learn's mixin."""

            def _init_callback_context(self, **kwargs):
                return None

        def with_callbacks(method):
            """Stand in for scikit-learn's decorator."""
            return method


class EpochTasks(Callback):
    """Each epoch is a task of the fit task; a callback that answers True ends the training.

    Parameters
    ----------
    estimator : estimator
        The one that is fitted.
    context : CallbackContext
    X, y : as given to fit
    fitted_attributes : callable
        Takes the skorch net and returns the attributes of an estimator fitted so far.
    """

    def __init__(
        self,
        estimator: Any,
        context: Any,
        X: Any,
        y: Any,
        fitted_attributes: Callable[[Any], dict[str, Any]],
    ) -> None:
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y
        self.fitted_attributes = fitted_attributes
        self.task_: Any = None

    def on_epoch_begin(self, net: Any = None, **kwargs: Any) -> None:
        """Begin the epoch's task."""
        self.task_ = self.context.subcontext(task_name="epoch")
        self.task_.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End the epoch's task, and training if a callback asks for it."""
        if self.task_ is None:  # a checkpoint goes on with an epoch that has begun
            self.on_epoch_begin()
        stop = self.task_.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=lambda: self.fitted_attributes(net),
        )
        self.task_ = None
        if stop:
            raise StopTraining

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, which is nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: the epoch's task begins when it is needed."""
