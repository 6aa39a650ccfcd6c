"""What the services need from the world, two to seven methods each. Adapters implement; contract suites in
`tests/contract` hold every adapter to the text of these docstrings."""
