"""Growth of tumours over years: population models on log volume, forecasts with intervals, their scores."""
