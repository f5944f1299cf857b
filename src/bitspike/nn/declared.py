"""Whether what a class declares of its equations is true of a subclass, too."""

from __future__ import annotations


def still_holds(kind: type, declaration: str, *methods: str) -> bool:
    """Tell whether a class states ``declaration`` where it gives the methods, or further down.

    What a class says of its equations (a law, a kernel) is not true of a subclass that changes only these.

    Example:
        >>> class Plain:
        ...     def forward(self): ...
        ...     def law(self): ...
        >>> class Changed(Plain):
        ...     def forward(self): ...
        >>> still_holds(Plain, "law", "forward"), still_holds(Changed, "law", "forward")
        (True, False)
    """

    def home(name: str) -> type:
        return next(cls for cls in kind.__mro__ if name in vars(cls))

    return all(issubclass(home(declaration), home(method)) for method in methods)
