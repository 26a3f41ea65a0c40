"""The policy that learns: predicted success from what was trained, corrected by what was observed since."""
