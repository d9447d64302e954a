"""plateau: a benchmark harness for agent self-improvement.

The five packages stand at the root of the repository; here are links to them, so that one import name,
`plateau_bench`, serves the checkout, the wheel, the type checker and the tests alike.
"""
