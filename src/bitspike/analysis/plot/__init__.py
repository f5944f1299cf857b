"""Figures of a network in one line each, on matplotlib's axes: ``bs.plot.raster(snn, images)``.

Every function returns the axes that it drew on, and takes ``ax=`` to draw on axes of yours.
"""

from bitspike.analysis.plot.codes_of import codes
from bitspike.analysis.plot.firing import raster, rates
from bitspike.analysis.plot.learning import curve
from bitspike.analysis.plot.potential import membrane

__all__ = ["codes", "curve", "membrane", "raster", "rates"]
