"""Tasks: what is asked, how it is graded, and where suites come from.

From the top down: `cli`; `quality` and `loading`; `suites` and `formats`; `grading` and `suite`; `guest`,
`files` and `base`. A module imports what is below it, `sandbox` and the shared modules of plateau.
"""
