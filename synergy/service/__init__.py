"""The process: reads configuration, wires everything, and runs it until it is told to stop."""
