"""The embedded cloud: Nova, Keystone and Placement in this process, behind the ports.

It is part of the product: the demo, the simulator and trials on a laptop use it. The same contract
tests run on it and on the real drivers, so a difference from Nova is a bug here.
"""
