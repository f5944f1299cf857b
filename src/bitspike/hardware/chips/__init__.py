"""Chips as files of rules; the check of a network against them, and the repairs that make it fit."""

from bitspike.hardware.chips.plan_repairs import plan

__all__ = ["plan"]
