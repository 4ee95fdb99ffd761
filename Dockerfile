# One image for the code server, web server, daemon, MLflow and the app.

FROM python:3.11-slim AS build
WORKDIR /app
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE workspace.yaml dagster.yaml ./
COPY tippers_dagster tippers_dagster
COPY dbt_project dbt_project
COPY streamlit_app streamlit_app
RUN pip install --no-cache-dir -c constraints.txt .

FROM python:3.11-slim
# For LightGBM's threads: the only system library that the wheels do not contain.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --home-dir /var/lib/tippers tippers
COPY --from=build /opt/venv /opt/venv
# workspace.yaml and deploy/; .dockerignore excludes most other files.
COPY . /app
COPY --chown=tippers deploy/dagster.yaml /var/lib/tippers/dagster/dagster.yaml
RUN chown -R tippers /var/lib/tippers && chmod 700 /var/lib/tippers
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TIPPERS_HOME=/var/lib/tippers \
    TIPPERS_DAGSTER_YAML=/app/deploy/dagster.yaml \
    DAGSTER_HOME=/var/lib/tippers/dagster
USER tippers
# Not /app, so that the installed package is used, and no .env is read.
WORKDIR /var/lib/tippers
# Files are readable by their owner only.
ENTRYPOINT ["/bin/sh", "-c", "umask 077 && exec \"$@\"", "--"]
CMD ["tippers", "--help"]
