"""What the notebooks show: curves, bars, tables, pictures, sources, widgets. Plain values in, no other room known."""

from cookbook_lib.display.conversations import conversation as conversation
from cookbook_lib.display.conversations import side_by_side as side_by_side
from cookbook_lib.display.curves import LiveCurves as LiveCurves
from cookbook_lib.display.curves import training_curves as training_curves
from cookbook_lib.display.packing import packing_picture as packing_picture
from cookbook_lib.display.plots import bars as bars
from cookbook_lib.display.plots import length_histogram as length_histogram
from cookbook_lib.display.plots import schedule as schedule
from cookbook_lib.display.progress import LiveProgress as LiveProgress
from cookbook_lib.display.source import source as source
from cookbook_lib.display.tables import comparison as comparison
from cookbook_lib.display.tables import parity as parity
from cookbook_lib.display.tables import table as table
from cookbook_lib.display.tokens import token_view as token_view
from cookbook_lib.display.views import Html as Html
from cookbook_lib.display.views import Picture as Picture
from cookbook_lib.display.widgets import browse as browse
from cookbook_lib.display.widgets import stop_button as stop_button
