"""Boards that a C program is written for: their memory, start-up code, linker script, compiler and emulator.

A board is a file of values in ``profiles/``; what its processor needs besides is a file of C in ``start/``.
"""
