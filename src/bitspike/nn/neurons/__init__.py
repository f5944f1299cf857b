"""Spiking neurons: ``base`` runs any of them by its law, and each class says which law it has."""
