"""The process: reads the configuration, wires everything, and runs it until it is stopped."""
