"""The forecaster: a model of numbers bound to series in time, its forecasts and backtests."""
