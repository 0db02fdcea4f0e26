"""The process: reads configuration, wires everything, and runs it until it is told to stop."""

import warnings

# oslo.service brings eventlet along, futurist looks whether it is there, and eventlet complains
# about being looked at. Nothing here runs on it: the backend is native threads.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
