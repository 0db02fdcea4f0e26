"""The embedded cloud: Nova, Keystone and Placement in this process, behind the ports.

It is part of the product: the demo, the simulator and a laptop run on it. The contract tests hold
it to what the real drivers do, so a difference from Nova is a defect here.
"""
