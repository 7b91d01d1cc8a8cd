"""The engines that keep rows themselves: one planner, one evaluator, one way to change rows and to undo it."""
