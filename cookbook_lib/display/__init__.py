"""What the notebooks show: curves, bars, tables, pictures, sources, widgets. Plain values in, no other room known."""

from cookbook_lib.display.curves import LiveCurves as LiveCurves
from cookbook_lib.display.curves import training_curves as training_curves
from cookbook_lib.display.progress import LiveProgress as LiveProgress
from cookbook_lib.display.tables import comparison as comparison
from cookbook_lib.display.tables import parity as parity
from cookbook_lib.display.tables import table as table
from cookbook_lib.display.views import Html as Html
from cookbook_lib.display.views import Picture as Picture
