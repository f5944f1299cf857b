"""An ordinary trained network becomes a spiking one: fold, choose a region, calibrate, correct, construct.

``convert.py`` is the whole in the order of the work; README.md says what each folder does and what always holds.
"""
