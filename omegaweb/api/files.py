"""Routes that answer with files where that is asked for."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class JsonOrFiles(APIView):
    """A route whose files are answers of their own; all else is JSON, whatever was asked for."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(response, Response):
            response.content_type = "application/json"
        return response
