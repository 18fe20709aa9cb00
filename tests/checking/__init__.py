"""Proves from outside that nothing was lost, doubled, reordered, stale or made up. Shares no code with the product.

load.py             clients that post under faults and write down what they were told
poller.py           reads rows all the time, and writes down what it saw
evidence.py         what PostgreSQL and the topic hold, as plain data
history.py          that plain data
checker.py          plain data -> findings; pure; by subject in check_*.py
findings.py         what it says
independent_fold.py the projections once more, from the contract alone
"""
