"""Why a store could not be used, in a phrase: the messages of libraries and databases run over many lines."""

import re

from recsys_ae import errors
from recsys_ae.surroundings import mask_uris

LOGIN = "the server does not accept this login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def reason(error: Exception) -> str:
    """What went wrong, in the words of the system if an error of a library contains them, else in its first line.

    Logins in URIs are left out, as libraries quote the URIs that they were given.
    """
    if isinstance(error, errors.RecsysError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {errors.reason(error)}"
    text = mask_uris(str(error))
    if "timed out" in text:
        return "the server does not answer"
    if re.search(r"error code 401\b|^401 Client Error", text):
        return LOGIN
    if re.search(r"error code 403\b.*Permission denied", text):
        return "permission denied, or there is no such thing"
    if network := re.search(r"\[Errno -?\d+\] ([^'\")]+)", text):
        return errors.reason(network[1])
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("(raised as a result of")]
    return errors.reason(re.sub(r"^\(\w+\.\w+\) ", "", lines[0].strip())) if lines else type(error).__name__
