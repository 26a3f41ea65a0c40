"""Learning from outcomes. Nothing that serves a request imports this: policies cross to serving as stored artefacts."""
