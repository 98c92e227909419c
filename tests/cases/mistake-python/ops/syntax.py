def f(text):
    return (text
