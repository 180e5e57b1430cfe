"""The parts of requests and responses, and the table of routes.

request_target   from the path of a request to a key, and to query parameters
precondition     If-Match and If-None-Match
duration         30s, 500ms, and Go's durations
switch           true and false in queries
body             the body of a request: whole, or not at all
errors           from failures to statuses
response         answers as bytes
room             a bound on long answers that wait for clients
schema           the schemas that several families of routes use
route            a Route: everything that is fixed of a route
route_table      from the target of a request to its route and handler
openapi          the description of the API, made from the routes
request_metrics  how many requests, and how long they took
"""
