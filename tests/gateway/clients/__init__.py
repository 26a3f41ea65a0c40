"""Real tools, each as its users run it, against the gateway in front of a scripted upstream."""
