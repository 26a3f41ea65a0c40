"""How far what a prompt says of the router, or how it is worded, moves the choice."""
