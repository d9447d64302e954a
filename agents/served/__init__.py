"""Checkpoints behind a server of their own (vLLM, SGLang, transformers) and the agent that uses one.

May import `models`, `gateway` and the agents above them.
"""
