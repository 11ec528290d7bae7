package clients

import "testing"

const javaHint = "apt install default-jdk-headless libpostgresql-jdbc-java (make deps does so)"

const jdbcJar = "/usr/share/java/postgresql.jar"

func java(file string) program {
	return program{name: "java", args: []string{"-XX:TieredStopAtLevel=1", "-cp", jdbcJar, file}, hint: javaHint}
}

func TestJDBC(t *testing.T) {
	start(t).compare(java("java/Client.java"))
}
