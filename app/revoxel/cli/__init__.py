"""Command line: parse, call, report; one small module per verb."""
