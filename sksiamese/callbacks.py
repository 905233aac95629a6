"""Callbacks of training, for the parameter `callbacks` of the estimators, and how to stop it.

Any skorch callback can be used beside these.
"""

from .twin.callbacks import MomentumRamp, StopTraining

__all__ = ["MomentumRamp", "StopTraining"]
