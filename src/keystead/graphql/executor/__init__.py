"""The executor: compiles a validated operation to a plan and runs it."""
