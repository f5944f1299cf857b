"""An ordinary trained network becomes a spiking one: choose a region, fold, calibrate, build, correct, fine-tune."""
