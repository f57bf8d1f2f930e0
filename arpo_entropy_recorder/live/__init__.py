"""Recording where requests come and go: marks on requests, a tap that stays, and the values' way to one collector."""
