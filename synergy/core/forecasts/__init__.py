"""When what waits will start: start intervals, their correction by what happened, their score.

`lifetimes` learns how long servers hold quota, `starts` runs the queue forward over lifetimes that
it draws from there, `correction` widens and shifts what comes out by how earlier forecasts held,
and `score` says how good they were, beside two forecasts that anybody could make.
"""
