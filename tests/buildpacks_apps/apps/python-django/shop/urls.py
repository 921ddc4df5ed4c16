import sys

from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.urls import path


def index(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = True
    request.session.save()
    version = ".".join(map(str, sys.version_info[:2]))
    return HttpResponse(f"django on {version}, sessions: {Session.objects.count()}")


urlpatterns = [path("", index)]
