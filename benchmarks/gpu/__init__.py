"""Accelerators: do numbers agree with the CPU's, and what do they cost there?"""
