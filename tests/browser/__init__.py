"""What web pages can do to a node, as a browser has it: Chromium against agents.

chromium    a browser for a test, or why there is none
attack.js   all that a page tries on a node
crowd       the answer of /cluster where there are many members
showcase    the console over twenty real members, as pictures
sites       the page of a stranger, and a node without doors, on which all of that works
"""
