"""A recorder to play with: it speaks the recorder's protocol, misbehaves on demand, and writes down the truth.

It builds its bytes from templates of its own and shares no code with the parts that read them, so that one
mistake cannot sit on both sides.
"""
