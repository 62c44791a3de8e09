# The MLflow server with what it needs for PostgreSQL and S3. The requirement is that of pyproject.toml.
FROM python:3.11.14-slim-bookworm
RUN pip install --no-cache-dir 'mlflow>=3.3' 'psycopg2-binary>=2.9' 'boto3>=1.34'
USER nobody
ENV HOME=/tmp
EXPOSE 5000
