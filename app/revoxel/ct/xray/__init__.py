"""X-rays of a CT: geometry, differentiable projection and its reverse, views from files, checks of views."""
