"""Whether the gateway stays as it is: mixed traffic for as long as wanted, and what is held before and after it."""
