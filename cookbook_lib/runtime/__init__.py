"""One notebook on many ranks: a Jupyter kernel that is rank 0 of a torchrun world. It would serve any SPMD notebook.

    JupyterLab, papermill, `cookbook run`
        |  Jupyter messages
    launch.py (the torchrun agent of this node)
        |-- rank 0   kernel.py   an ordinary IPython kernel that also sends each cell to the other ranks ...
        |-- rank 1   ranks.py    ... which run it in an IPython shell of their own, and send back output and verdict
        '-- rank N   ranks.py    (channel.py: authenticated JSON frames; on other nodes too)

Rooms within the room: settings (the environment), channel, turns and team (who owes what), rescue (when one rank fails
and others go on), groups (torch's process groups), comms (widgets on every rank), streams (their output), lifeline (who
dies with whom), worker and launch (processes), kernelspec and doctor (installation), parameters, progress and papermill
(headless runs), cli.
"""
