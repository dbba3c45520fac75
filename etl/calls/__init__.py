"""Pure reasoning about calls: facts, coverage, gaps, which details to ask for. No I/O, no clock, no dice."""
