"""Steps that a model writes (intent, judge, summary …), optimised from examples with DSPy.

`step` says what a step is, and each step has a file of its own. `examples` reads what to learn from, `environment` is
where DSPy lives, `training` runs the `worker` there and answers its calls through the gateway, and `kept` keeps what
came of it as JSON, which serving renders without any of this. What the worker imports needs the standard library,
msgspec and DSPy alone; what the gateway's own environment imports never needs DSPy.
"""
