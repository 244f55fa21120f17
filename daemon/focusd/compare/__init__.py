"""``focusd compare``: several ways of fusing one stack, laid side by side on a page, with figures."""
