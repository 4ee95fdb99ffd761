-- Run once, when the server's volume is empty. POSTGRES_DB has made the warehouse, `tippers`.
CREATE DATABASE dagster;
CREATE DATABASE mlflow;
