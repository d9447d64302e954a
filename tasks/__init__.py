"""Tasks: what is asked, how it is graded, and where suites come from."""

from pathlib import Path

from tasks.suite import Suite


def load_suite(name: str) -> Suite:
    """The built-in suite 'katas', or the Harbor task folders in the folder that `name` is the path of.

    Raises ValueError if it is neither, or if a task folder in it is malformed.
    """
    if name == "katas":
        from tasks import katas

        return katas
    if not Path(name).is_dir():
        raise ValueError(f"tasks.suite: {name!r} is neither 'katas' nor a folder of Harbor task folders")
    from tasks.harbor import FolderSuite

    return FolderSuite(Path(name))
