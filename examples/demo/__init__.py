"""`make demo`: two small local models behind one router, in LangChain and in LlamaIndex.

Read it in the order in which it runs:

`options → models (downloads) → server → clients → trials (prompts, grading) → table → report`
"""
