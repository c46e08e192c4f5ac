"""The code of a logged model. MLflow copies this file into the model and runs it wherever the model is loaded."""

from mlflow.models import set_model

from recsys_ae.serving.mlflow_model import MlflowRecommender

set_model(MlflowRecommender())
